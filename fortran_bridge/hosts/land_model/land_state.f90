! SPDX-License-Identifier: Apache-2.0
!> What the land remembers from one step to the next, and what it did during a step.
module land_state
   use cells, only: cells_t
   use constants, only: freezing_point, latent_heat_fusion, wp
   use soil_heat, only: heat_content
   use soil_water, only: field_capacity_root, field_capacity_top
   implicit none
   private
   public :: land_t, new_land, stored_water, stored_energy

   real(wp), parameter :: ice_sheet = 1.0e4_wp
      !! Frozen water that ice cells start with: more than a run can melt [kg m-2].

   type :: land_t
      !! One value a cell of this rank.

      ! State
      real(wp), allocatable :: lai(:)
         !! Leaf area index [1].
      real(wp), allocatable :: canopy_water(:)
         !! Rain held by leaves [kg m-2].
      real(wp), allocatable :: snw(:)
         !! Snow store [kg m-2].
      real(wp), allocatable :: soil_water_top(:)
         !! Liquid water of the upper layer [kg m-2].
      real(wp), allocatable :: soil_water_root(:)
         !! Liquid water of the lower layer [kg m-2].
      real(wp), allocatable :: skin_temperature(:)
         !! [K]
      real(wp), allocatable :: soil_temperature_top(:)
         !! [K]
      real(wp), allocatable :: soil_temperature_deep(:)
         !! [K]

      ! Fluxes of the last step
      real(wp), allocatable :: mrso(:)
         !! Soil moisture, both layers, at the end of the step [kg m-2].
      real(wp), allocatable :: evspsbl(:)
         !! Evapotranspiration and sublimation, positive upward [kg m-2 s-1].
      real(wp), allocatable :: transpiration(:)
         !! Its part through leaves [kg m-2 s-1].
      real(wp), allocatable :: mrro(:)
         !! Runoff and drainage [kg m-2 s-1].
      real(wp), allocatable :: snm(:)
         !! Snow melt [kg m-2 s-1].
      real(wp), allocatable :: rss(:)
         !! Net shortwave, positive downward [W m-2].
      real(wp), allocatable :: rls(:)
         !! Net longwave, positive downward [W m-2].
      real(wp), allocatable :: hfls(:)
         !! Latent heat, positive upward [W m-2].
      real(wp), allocatable :: hfss(:)
         !! Sensible heat, positive upward [W m-2].
      real(wp), allocatable :: hfds(:)
         !! Heat into the soil, positive downward [W m-2].

      ! Carbon, which only emulators give [kg m-2 s-1]
      real(wp), allocatable :: gpp(:)
         !! Gross primary production.
      real(wp), allocatable :: reco(:)
         !! Ecosystem respiration.
      real(wp), allocatable :: nee(:)
         !! Net ecosystem exchange, positive upward.
   end type land_t

contains

   function new_land(owned, annual_temperature, first_temperature) result(land)
      !! The land at the start: soil at field capacity and at the annual mean temperature.
      type(cells_t), intent(in) :: owned
      real(wp), intent(in) :: annual_temperature(:)
         !! [K]
      real(wp), intent(in) :: first_temperature(:)
         !! Air temperature of the first hour [K].
      type(land_t) :: land
      integer :: n

      n = owned%count
      allocate (land%lai(n), land%canopy_water(n), land%snw(n), land%mrso(n), land%evspsbl(n), land%transpiration(n), &
         land%mrro(n), land%snm(n), land%rss(n), land%rls(n), land%hfls(n), land%hfss(n), land%hfds(n), land%gpp(n), &
         land%reco(n), land%nee(n), source=0.0_wp)
      allocate (land%skin_temperature(n), source=first_temperature)
      allocate (land%soil_temperature_top(n), land%soil_temperature_deep(n), source=annual_temperature)
      allocate (land%soil_water_top(n), source=field_capacity_top)
      allocate (land%soil_water_root(n), source=field_capacity_root)
      where (owned%ice)
         land%snw = ice_sheet
         land%soil_temperature_top = min(annual_temperature, freezing_point)
         land%soil_temperature_deep = land%soil_temperature_top
         land%soil_water_top = 0.0_wp
         land%soil_water_root = 0.0_wp
      end where
      land%mrso = land%soil_water_top + land%soil_water_root
   end function new_land

   pure function stored_water(land) result(water)
      !! Water of all stores [kg m-2].
      type(land_t), intent(in) :: land
      real(wp) :: water(size(land%snw))

      water = land%canopy_water + land%snw + land%soil_water_top + land%soil_water_root
   end function stored_water

   pure function stored_energy(land) result(energy)
      !! Heat of the soil less the heat that melting the snow would take [J m-2].
      type(land_t), intent(in) :: land
      real(wp) :: energy(size(land%snw))

      energy = heat_content(land%soil_temperature_top, land%soil_temperature_deep) - latent_heat_fusion*land%snw
   end function stored_energy
end module land_state
