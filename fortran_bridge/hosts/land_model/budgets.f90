! SPDX-License-Identifier: Apache-2.0
!> What came in, what went out, what stayed: the proof that the model neither makes nor loses water or energy.
module budgets
   use cells, only: cells_t
   use constants, only: latent_heat_fusion, latent_heat_vaporisation, timestep, wp
   use disaggregation, only: atmosphere_t
   use land_state, only: land_t, stored_energy, stored_water
   use parallel, only: parallel_t
   implicit none
   private
   public :: budgets_t, totals_t

   type :: budgets_t
      !! Sums over the run in each cell, water in [kg m-2] and energy in [J m-2].
      private
      real(wp), allocatable :: precipitation(:), evapotranspiration(:), runoff(:)
      real(wp), allocatable :: net_radiation(:), sensible(:), latent(:), snowfall(:)
      real(wp), allocatable :: water_at_start(:), energy_at_start(:)
   contains
      procedure :: start
      procedure :: add
      procedure :: totals
   end type budgets_t

   type :: totals_t
      !! Sums over the run and all land cells, water in [kg] and energy in [J].
      real(wp) :: precipitation
      real(wp) :: evapotranspiration
      real(wp) :: runoff
      real(wp) :: water_storage_change
      real(wp) :: water_residual
         !! Precipitation less everything it became.
      real(wp) :: largest_water_residual
         !! Of a cell [kg m-2].
      real(wp) :: net_radiation
      real(wp) :: sensible_heat
      real(wp) :: latent_heat
         !! Of evaporation from liquid water.
      real(wp) :: snowfall_heat
         !! Heat it takes to melt what fell as snow.
      real(wp) :: energy_storage_change
         !! Of the soil and, as heat not needed any more to melt it, of the snow.
      real(wp) :: energy_residual
         !! Net radiation less everything it became.
      real(wp) :: largest_energy_residual
         !! Of a cell [J m-2].
      real(wp) :: area
         !! Of the land [m2].
   end type totals_t

contains

   subroutine start(self, land)
      !! Note what is stored at the start.
      class(budgets_t), intent(out) :: self
      type(land_t), intent(in) :: land

      integer :: n

      n = size(land%snw)
      allocate (self%precipitation(n), self%evapotranspiration(n), self%runoff(n), self%net_radiation(n), &
         self%sensible(n), self%latent(n), self%snowfall(n), source=0.0_wp)
      allocate (self%water_at_start(n), source=stored_water(land))
      allocate (self%energy_at_start(n), source=stored_energy(land))
   end subroutine start

   subroutine add(self, air, land)
      !! Add a step.
      class(budgets_t), intent(inout) :: self
      type(atmosphere_t), intent(in) :: air
      type(land_t), intent(in) :: land

      self%precipitation = self%precipitation + air%pr*timestep
      self%evapotranspiration = self%evapotranspiration + land%evspsbl*timestep
      self%runoff = self%runoff + land%mrro*timestep
      self%net_radiation = self%net_radiation + (land%rss + land%rls)*timestep
      self%sensible = self%sensible + land%hfss*timestep
      self%latent = self%latent + latent_heat_vaporisation*land%evspsbl*timestep
      self%snowfall = self%snowfall + latent_heat_fusion*air%snowfall*timestep
   end subroutine add

   type(totals_t) function totals(self, land, owned, ranks)
      !! Sum over all cells of all ranks; the bits do not depend on the number of ranks.
      class(budgets_t), intent(in) :: self
      type(land_t), intent(in) :: land
      type(cells_t), intent(in) :: owned
      type(parallel_t), intent(in) :: ranks
      integer, parameter :: columns = 12
      real(wp) :: values(owned%count, columns), sums(columns)
      real(wp), dimension(owned%count) :: water_change, energy_change, water_residual, energy_residual

      water_change = stored_water(land) - self%water_at_start
      energy_change = stored_energy(land) - self%energy_at_start
      water_residual = self%precipitation - self%evapotranspiration - self%runoff - water_change
      energy_residual = self%net_radiation - self%sensible - self%latent - self%snowfall - energy_change

      values(:, 1) = self%precipitation
      values(:, 2) = self%evapotranspiration
      values(:, 3) = self%runoff
      values(:, 4) = water_change
      values(:, 5) = water_residual
      values(:, 6) = self%net_radiation
      values(:, 7) = self%sensible
      values(:, 8) = self%latent
      values(:, 9) = self%snowfall
      values(:, 10) = energy_change
      values(:, 11) = energy_residual
      values(:, 12) = 1.0_wp
      sums = ranks%ordered_sums(spread(owned%area, 2, columns)*values)

      totals = totals_t( &
         precipitation=sums(1), evapotranspiration=sums(2), runoff=sums(3), water_storage_change=sums(4), &
         water_residual=sums(5), largest_water_residual=ranks%largest(maxval(abs(water_residual))), &
         net_radiation=sums(6), sensible_heat=sums(7), latent_heat=sums(8), snowfall_heat=sums(9), &
         energy_storage_change=sums(10), energy_residual=sums(11), &
         largest_energy_residual=ranks%largest(maxval(abs(energy_residual))), area=sums(12))
   end function totals
end module budgets
