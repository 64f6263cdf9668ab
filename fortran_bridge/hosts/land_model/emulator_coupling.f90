! SPDX-License-Identifier: Apache-2.0
!> The coupling of the model to its emulators, by coupler_plugin.
!!
!! This file and `emulator_coupling_none.f90` hold the same module; CMake compiles one of them (option COUPLER).
!! All that the model knows of the plugin is here.
module emulator_coupling
   use cells, only: cells_t
   use constants, only: timestep, wp
   use coupler_plugin, only: coupler_t
   use disaggregation, only: atmosphere_t
   use land_state, only: land_t
   use parallel, only: parallel_t
   implicit none
   private
   public :: emulator_coupling_t

   type :: emulator_coupling_t
      private
      logical :: active = .false.
      type(coupler_t) :: coupler
      real(wp), allocatable :: lai_before(:)
      logical, allocatable, public :: gives_lai(:)
         !! Cells whose leaf area an emulator has written: the model leaves it alone from then on.
   contains
      procedure :: start
      procedure :: step
      procedure :: finish
   end type emulator_coupling_t

contains

   subroutine start(self, active, config, start_date, owned, ranks, air, land)
      !! Say which cells there are and bind the fields, once; emulators read and write them in place.
      class(emulator_coupling_t), intent(out) :: self
      logical, intent(in) :: active
         !! Whether emulators are called at all.
      character(len=*), intent(in) :: config
         !! YAML file.
      character(len=*), intent(in) :: start_date
      type(cells_t), intent(in) :: owned
      type(parallel_t), intent(in) :: ranks
      type(atmosphere_t), target, intent(inout) :: air
      type(land_t), target, intent(inout) :: land

      self%active = active
      self%lai_before = land%lai
      allocate (self%gives_lai(owned%count), source=.false.)
      if (.not. active) return

      call self%coupler%init(config, comm=ranks%communicator%mpi_val, start=start_date, dt=timestep)
      call self%coupler%set_cells(merge(0, owned%id, owned%ice), owned%lon, owned%lat, owned%area)

      call self%coupler%bind('tas', air%tas, units='K')
      call self%coupler%bind('huss', air%huss, units='1')
      call self%coupler%bind('vpd', air%vpd, units='Pa')
      call self%coupler%bind('ps', air%ps, units='Pa')
      call self%coupler%bind('sfcWind', air%wind, units='m s-1')
      call self%coupler%bind('rsds', air%rsds, units='W m-2')
      call self%coupler%bind('rlds', air%rlds, units='W m-2')
      call self%coupler%bind('pr', air%pr, units='kg m-2 s-1')

      call self%coupler%bind('lai', land%lai, units='1')
      call self%coupler%bind('gpp', land%gpp, units='kg m-2 s-1')
      call self%coupler%bind('reco', land%reco, units='kg m-2 s-1')
      call self%coupler%bind('nee', land%nee, units='kg m-2 s-1')

      call self%coupler%bind('evspsbl', land%evspsbl, units='kg m-2 s-1')
      call self%coupler%bind('mrso', land%mrso, units='kg m-2')
      call self%coupler%bind('mrsos', land%soil_water_top, units='kg m-2')
      call self%coupler%bind('mrsod', land%soil_water_root, units='kg m-2')
      call self%coupler%bind('tsls', land%soil_temperature_top, units='K')
      call self%coupler%bind('tsld', land%soil_temperature_deep, units='K')
      call self%coupler%bind('snw', land%snw, units='kg m-2')
      call self%coupler%bind('mrro', land%mrro, units='kg m-2 s-1')
      call self%coupler%bind('hfls', land%hfls, units='W m-2')
      call self%coupler%bind('hfss', land%hfss, units='W m-2')
   end subroutine start

   subroutine step(self, land)
      !! Hand the plugin the hour that has just passed.
      class(emulator_coupling_t), intent(inout) :: self
      type(land_t), target, intent(inout) :: land

      if (.not. self%active) return
      self%lai_before = land%lai
      call self%coupler%step()
      self%gives_lai = self%gives_lai .or. abs(land%lai - self%lai_before) > 0.0_wp
   end subroutine step

   subroutine finish(self)
      !! Close the files of the plugin.
      class(emulator_coupling_t), intent(inout) :: self

      if (self%active) call self%coupler%finalize()
   end subroutine finish
end module emulator_coupling
