! SPDX-License-Identifier: Apache-2.0
!> The land cells of the grid and which of them this rank owns.
!!
!! Cells are numbered over the whole grid in the order of the forcing file (longitude fastest, from the first
!! latitude on), sea included. Ranks own contiguous blocks of the land cells in that order, so what a rank reads
!! is a band of latitudes. The blocks have about equal work: cells under ice have no emulators to wait for.
module cells
   use netcdf, only: nf90_close, nf90_get_var, nf90_inq_dimid, nf90_inq_varid, nf90_inquire_dimension, nf90_nowrite, &
      nf90_open
   use constants, only: earth_radius, pi, radians, wp
   use netcdf_status, only: check
   use parallel, only: parallel_t, stop_all
   implicit none
   private
   public :: cells_t, read_cells, gaussian_weight

   integer, parameter :: work_of_ice = 1
   integer, parameter :: work_of_land = 8
      !! Work of a cell, about.

   type :: cells_t
      !! The cells of this rank.
      integer :: count = 0
      integer :: total = 0
         !! Land cells of all ranks.
      integer :: n_lon = 0
         !! Longitudes of the grid.
      integer :: n_lat = 0
         !! Latitudes of the grid.
      integer, allocatable :: id(:)
         !! Index on the grid, from 1.
      real(wp), allocatable :: lon(:)
         !! [degrees_east]
      real(wp), allocatable :: lat(:)
         !! [degrees_north]
      real(wp), allocatable :: area(:)
         !! Land area: area of the Gaussian cell times its land fraction [m2].
      logical, allocatable :: ice(:)
         !! Covered by an ice sheet or glacier.
   end type cells_t

contains

   function read_cells(path, ranks) result(cells)
      !! Read the grid of the forcing file and keep the cells of this rank.
      character(len=*), intent(in) :: path
      type(parallel_t), intent(in) :: ranks
      type(cells_t) :: cells
      real(wp), allocatable :: lon(:), lat(:), land(:), ice(:)
      integer :: file, i, j, before, total_work

      call check(nf90_open(path, nf90_nowrite, file), 'opening the forcing '//path)
      cells%n_lon = length_of(file, 'lon')
      cells%n_lat = length_of(file, 'lat')
      allocate (lon(cells%n_lon), lat(cells%n_lat), land(cells%n_lon), ice(cells%n_lon))
      call read_row('lon', lon, [1])
      call read_row('lat', lat, [1])

      total_work = 0
      do j = 1, cells%n_lat
         call read_row('land_area_fraction', land, [1, j])
         call read_row('land_ice_area_fraction', ice, [1, j])
         cells%total = cells%total + count(is_land(land))
         total_work = total_work + sum(work(land, ice))
      end do

      before = 0
      allocate (cells%id(0), cells%lon(0), cells%lat(0), cells%area(0), cells%ice(0))
      do j = 1, cells%n_lat
         call read_row('land_area_fraction', land, [1, j])
         call read_row('land_ice_area_fraction', ice, [1, j])
         do i = 1, cells%n_lon
            if (.not. is_land(land(i))) cycle
            if (ranks%owner(before, work(land(i), ice(i)), total_work) == ranks%rank) then
               cells%id = [cells%id, (j - 1)*cells%n_lon + i]
               cells%lon = [cells%lon, lon(i)]
               cells%lat = [cells%lat, lat(j)]
               cells%area = [cells%area, land(i)*gaussian_cell_area(lat(j), cells%n_lon, cells%n_lat)]
               cells%ice = [cells%ice, is_ice(ice(i))]
            end if
            before = before + work(land(i), ice(i))
         end do
      end do
      cells%count = size(cells%id)
      if (cells%count == 0) call stop_all('there are too many ranks for so few land cells; use fewer.')
      call check(nf90_close(file), 'closing the forcing '//path)

   contains

      subroutine read_row(name, values, first)
         !! Read one row of a variable.
         character(len=*), intent(in) :: name
         real(wp), intent(out) :: values(:)
         integer, intent(in) :: first(:)
         integer :: variable, lengths(size(first))

         lengths = 1
         lengths(1) = size(values)
         call check(nf90_inq_varid(file, name, variable), 'looking for '//name//' in '//path)
         call check(nf90_get_var(file, variable, values, start=first, count=lengths), 'reading '//name//' from '//path)
      end subroutine read_row
   end function read_cells

   integer function length_of(file, name)
      !! Length of a dimension.
      integer, intent(in) :: file
      character(len=*), intent(in) :: name
      integer :: dimension

      call check(nf90_inq_dimid(file, name, dimension), 'looking for the dimension '//name//' of the forcing')
      call check(nf90_inquire_dimension(file, dimension, len=length_of), 'reading the dimension '//name)
   end function length_of

   elemental logical function is_land(fraction)
      !! The forcing has values where more than half of a cell is land.
      real(wp), intent(in) :: fraction

      is_land = fraction > 0.5_wp
   end function is_land

   elemental logical function is_ice(fraction)
      !! A cell is either under ice or it is not.
      real(wp), intent(in) :: fraction

      is_ice = fraction > 0.5_wp
   end function is_ice

   elemental integer function work(land, ice)
      !! Work of a cell; none at sea.
      real(wp), intent(in) :: land
      real(wp), intent(in) :: ice
         !! Fractions of the cell [1].

      work = merge(merge(work_of_ice, work_of_land, is_ice(ice)), 0, is_land(land))
   end function work

   pure real(wp) function gaussian_cell_area(lat, n_lon, n_lat)
      !! Area of a cell of a Gaussian grid: its share of the sphere is its quadrature weight [m2].
      real(wp), intent(in) :: lat
      integer, intent(in) :: n_lon
      integer, intent(in) :: n_lat

      gaussian_cell_area = 2.0_wp*pi*earth_radius**2/n_lon*gaussian_weight(sin(lat*radians), n_lat)
   end function gaussian_cell_area

   pure real(wp) function gaussian_weight(node, n)
      !! Weight of a node of the Gauss-Legendre quadrature with `n` nodes; the weights add up to 2.
      !!
      !! Abramowitz and Stegun 1964, equation 25.4.29, with P_n' written through P_(n-1).
      real(wp), intent(in) :: node
         !! Sine of a Gaussian latitude: a root of the Legendre polynomial of degree `n`.
      integer, intent(in) :: n
      real(wp) :: previous, current, next
      integer :: degree

      previous = 1.0_wp
      current = node
      do degree = 2, n - 1
         next = ((2*degree - 1)*node*current - (degree - 1)*previous)/degree
         previous = current
         current = next
      end do
      gaussian_weight = 2.0_wp*(1.0_wp - node**2)/(n*current)**2
   end function gaussian_weight
end module cells
